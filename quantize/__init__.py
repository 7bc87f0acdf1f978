"""From a fitted student to int8: conversion, calibration, gates, bundle."""
