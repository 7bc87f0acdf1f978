/* What the examples ask of a board: a line of text out, a file in, an end, and a count of instructions. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

void board_write(const char *text);
void board_exit(int code); /* never returns; the emulator ends with this code */

/* One file of the machine that emulates the board, through semihosting. */
int board_open(const char *name);             /* 0 if it cannot be read */
size_t board_read(void *bytes, size_t n);     /* how many came; less than n at the end */

/* A counter that runs with the emulator's virtual time, which `-icount` ties to instructions. How many of them a tick
 * stands for is not assumed: measure.c finds it on a loop of known length. On silicon it counts clock cycles instead. */
void board_count_begin(void);
uint64_t board_count_end(void); /* ticks since the beginning; UINT64_MAX: the counter went round */

#endif
