/* The board that this machine is, for programs that also run here. It counts nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "board.h"

static FILE *file;

void board_write(const char *text) {
    (void)fputs(text, stdout);
}

void board_exit(int code) {
    exit(code);
}

int board_open(const char *name) {
    file = fopen(name, "rb");
    return file != NULL;
}

size_t board_read(void *bytes, size_t n) {
    return fread(bytes, 1, n, file);
}

void board_count_begin(void) {
}

uint64_t board_count_end(void) {
    return UINT64_MAX;
}
