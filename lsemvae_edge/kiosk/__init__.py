"""The kiosk: a health worker's way from a study id to a result, on a page or in a terminal."""
