#include "measure.h"

#include "board.h"

#define PAINT 0xC5A3E917u
#define UNPAINTED_WORDS 32 /* below the caller's frame: the painter's own */
#define TURNS 1000000u
#define PER_TURN 2u /* instructions of the loop in `turn` */

extern uint32_t __stack_bottom[];

static uint64_t ticks_of_turns, ticks_of_nothing;

__attribute__((noinline)) static void turn(uint32_t times) {
#ifdef __riscv
    __asm__ volatile("1: addi %0, %0, -1\n\tbnez %0, 1b" : "+r"(times));
#else
    __asm__ volatile(".syntax unified\n1: subs %0, %0, #1\n\tbne 1b" : "+l"(times) : : "cc");
#endif
}

static uint64_t ticks_of(uint32_t times) {
    board_count_begin();
    if (times != 0) {
        turn(times);
    }
    return board_count_end();
}

int count_calibrate(void) {
    ticks_of_nothing = ticks_of(0);
    const uint64_t found = ticks_of(TURNS);
    if (found == UINT64_MAX || found <= ticks_of_nothing) {
        return 0;
    }
    ticks_of_turns = found - ticks_of_nothing;
    count_begin();
    turn(3 * TURNS + 12345);
    const uint64_t counted = count_end(), known = PER_TURN * (uint64_t)(3 * TURNS + 12345);
    const uint64_t wrong = counted > known ? counted - known : known - counted;
    return wrong < known / 1000;
}

void count_begin(void) {
    board_count_begin();
}

uint64_t count_end(void) {
    const uint64_t ticks = board_count_end();
    if (ticks == UINT64_MAX || ticks_of_turns == 0) {
        return UINT64_MAX;
    }
    const uint64_t more = ticks > ticks_of_nothing ? ticks - ticks_of_nothing : 0;
    return (more * PER_TURN * TURNS + ticks_of_turns / 2) / ticks_of_turns;
}

/* Neither is inlined, so that both see the caller's frame at the same place. */
__attribute__((noinline)) void stack_paint(void) {
    const volatile uint32_t *const top = (const volatile uint32_t *)__builtin_frame_address(0) - UNPAINTED_WORDS;
    for (volatile uint32_t *word = __stack_bottom; word < top; word++) {
        *word = PAINT;
    }
}

__attribute__((noinline)) uint32_t stack_used(void) {
    const volatile uint32_t *const top = (const volatile uint32_t *)__builtin_frame_address(0);
    const volatile uint32_t *word = __stack_bottom;
    while (word < top && *word == PAINT) {
        word++;
    }
    return (uint32_t)((const volatile char *)top - (const volatile char *)word);
}
