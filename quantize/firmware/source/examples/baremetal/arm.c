/* Start-up of a Cortex-M and its emulated board: vector table, SysTick as a counter, semihosting for text. */
#include "board.h"

#include <string.h>

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define SYST_COUNTS_THE_CORE_CLOCK 5u /* enabled, no interrupt */
#define SYST_WENT_ROUND 0x10000u
#define SYST_MOST 0xFFFFFFu

#define SYS_OPEN 0x01u
#define SYS_WRITE0 0x04u
#define SYS_READ 0x06u
#define SYS_EXIT_EXTENDED 0x20u
#define APPLICATION_EXIT 0x20026u

extern uint32_t __data_from[], __data_begin[], __data_end[], __bss_begin[], __bss_end[], __stack_top[];
int main(void);
void reset_handler(void);
void fault_handler(void);

static uint32_t ask_host(uint32_t operation, const void *about) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = about;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_write(const char *text) {
    (void)ask_host(SYS_WRITE0, text);
}

static uint32_t file;

int board_open(const char *name) {
    const uint32_t about[3] = {(uint32_t)(uintptr_t)name, 1 /* rb */, (uint32_t)strlen(name)};
    file = ask_host(SYS_OPEN, about);
    return file != UINT32_MAX;
}

size_t board_read(void *bytes, size_t n) {
    const uint32_t about[3] = {file, (uint32_t)(uintptr_t)bytes, (uint32_t)n};
    return n - ask_host(SYS_READ, about); /* which answers how many did not come */
}

void board_exit(int code) {
    const uint32_t about[2] = {APPLICATION_EXIT, (uint32_t)code};
    for (;;) {
        (void)ask_host(SYS_EXIT_EXTENDED, about);
    }
}

void board_count_begin(void) {
    SYST_CSR = 0;
    SYST_RVR = SYST_MOST;
    SYST_CVR = 0;
    SYST_CSR = SYST_COUNTS_THE_CORE_CLOCK;
    /* The counter is loaded with its next tick. */
    while (SYST_CVR == 0) {
    }
}

uint64_t board_count_end(void) {
    const uint32_t now = SYST_CVR;
    const uint32_t state = SYST_CSR;
    SYST_CSR = 0;
    return (state & SYST_WENT_ROUND) != 0 ? UINT64_MAX : SYST_MOST - now;
}

void reset_handler(void) {
#ifdef __ARM_FP
    CPACR |= 0xFu << 20; /* the compiler may use the floating-point unit, also for copies; MVE needs it as well */
    __asm__ volatile("dsb\n\tisb");
#endif
    const uint32_t *from = __data_from;
    for (uint32_t *to = __data_begin; to != __data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = __bss_begin; to != __bss_end; to++) {
        *to = 0;
    }
    board_exit(main());
}

void fault_handler(void) {
    board_write("lsemvae example: FAULT\n");
    board_exit(99);
}

/* Handlers of the core; the first entry is where the stack begins. */
__attribute__((section(".vector_table"), used)) static void (*const vector_table[])(void) = {
    (void (*)(void))(uintptr_t)__stack_top,
    reset_handler,
    fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
    fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
};
