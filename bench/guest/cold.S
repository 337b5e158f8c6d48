// Code that is new: thousands of functions, no two alike, of 17 to 23 instructions in two or three blocks, as compilers
// make them. Made by the assembler, from a sequence of pseudo-random numbers.
//
// Called with a number in A and an address of 256 bytes to work on in D; changes A and C.

#ifdef __x86_64__
#define A rax
#define C rcx
#define D rdx
#define POINTER .quad
#else
#define A eax
#define C ecx
#define D edx
#define POINTER .long
#endif

    .set seed, 1

// ANSI C's example of rand()
.macro step
    .set seed, (seed * 1103515245 + 12345) & 0x7fffffff
    .set pick, (seed >> 16) & 7
    .set at, (seed >> 8) & 0xf8
.endm

// Four or five instructions, of eight kinds, with numbers of their own.
.macro piece
    step
    .if pick == 0
        mov at(%D), %C
        add $seed, %A
        rol $(at >> 3), %A
        xor %A, %C
        mov %C, at(%D)
    .elseif pick == 1
        lea at(%A,%A,4), %A
        mov %A, %C
        shr $7, %C
        sub %C, %A
    .elseif pick == 2
        imul $(seed | 1), %A, %A
        add at(%D), %A
        test $1, %al
        sete %cl
        movzb %cl, %ecx
    .elseif pick == 3
        push %A
        xor $seed, %A
        movzb at(%D), %ecx
        add %A, %C
        pop %A
        add %C, %A
    .elseif pick == 4
        cmp $seed, %A
        mov $at, %ecx
        cmovae %C, %A
        adc $at, %A
    .elseif pick == 5
        mov %eax, at(%D)
        bswap %eax
        movzw at(%D), %ecx
        or $1, %ecx
        sub %C, %A
    .elseif pick == 6
        neg %A
        and $seed | 0xff, %A
        incl at(%D)
        sbb $3, %A
    .else
        mov $seed, %ecx
        xor %C, %A
        and $31, %ecx
        bts %ecx, %eax
        adc $0, %A
    .endif
.endm

.macro function
    .p2align 4
1:
    .pushsection .rodata
    POINTER 1b
    .popsection
    piece
    piece
    test $4, %al
    jz 2f
    piece
2:
    piece
    ret
.endm

.macro functions name, count
    .pushsection .rodata
    .p2align 4
    .globl \name
\name:
    .popsection
    .rept \count
        function
    .endr
.endm

    .text
    functions cold_2k, 10000
    functions cold_50k, 50000

    .section .note.GNU-stack, "", @progbits
