/* How many instructions a piece of work takes, and how much stack. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>

/* Find what a tick of the board's counter stands for, on a loop of known length. Answers 0 if a second loop is then
 * counted wrong by more than 1 in 1000. */
int count_calibrate(void);
void count_begin(void);
uint64_t count_end(void); /* instructions since the beginning, on silicon clock cycles; UINT64_MAX: too many to count */

void stack_paint(void);     /* paint all that is free */
uint32_t stack_used(void);  /* how far below the caller's frame the paint is gone, in bytes */

#endif
