#ifndef STUB_ZEPHYR_PRINTK_H
#define STUB_ZEPHYR_PRINTK_H

#include <stdio.h>

#define printk printf

#endif
