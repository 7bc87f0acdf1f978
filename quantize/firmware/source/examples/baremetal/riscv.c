/* Start-up of a bare RISC-V and qemu's `virt` board: retired instructions as the counter, semihosting for text. */
#include "board.h"

#include <string.h>

#define SYS_OPEN 0x01u
#define SYS_WRITE0 0x04u
#define SYS_READ 0x06u
#define SYS_EXIT_EXTENDED 0x20u
#define APPLICATION_EXIT 0x20026u

extern uint32_t __bss_begin[], __bss_end[];
int main(void);
void start(void);
void begin(void);
void fault_handler(void);

static uint64_t begun;

/* The stack first, then C; whatever traps ends in fault_handler. */
__attribute__((section(".vector_table"), naked, used)) void start(void) {
    __asm__ volatile(".option push\n\t"
                     ".option norelax\n\t"
                     ".option arch, +zicsr\n\t"
                     "la gp, __global_pointer$\n\t"
                     "la sp, __stack_top\n\t"
                     "la t0, fault_handler\n\t"
                     "csrw mtvec, t0\n\t"
                     ".option pop\n\t"
                     "j begin");
}

static uint32_t ask_host(uint32_t operation, const void *about) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = about;
    __asm__ volatile(".balign 16\n\t" /* the three must lie in one page */
                     ".option push\n\t"
                     ".option norvc\n\t"
                     "slli x0, x0, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai x0, x0, 0x7\n\t"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
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

#define READ(name, csr)                                                                  \
    static uint32_t name(void) {                                                         \
        uint32_t value;                                                                  \
        __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrr %0, " csr "\n\t.option pop" \
                         : "=r"(value));                                                 \
        return value;                                                                    \
    }
READ(lower_half, "minstret")
READ(upper_half, "minstreth")

static uint64_t retired(void) {
    uint32_t upper, lower;
    do {
        upper = upper_half();
        lower = lower_half();
    } while (upper != upper_half());
    return ((uint64_t)upper << 32) | lower;
}

void board_count_begin(void) {
    begun = retired();
}

uint64_t board_count_end(void) {
    return retired() - begun;
}

void begin(void) {
    for (uint32_t *to = __bss_begin; to != __bss_end; to++) {
        *to = 0;
    }
    board_exit(main());
}

__attribute__((aligned(4))) void fault_handler(void) {
    board_write("lsemvae example: FAULT\n");
    board_exit(99);
}
