// The program of the fork and exec benchmark: exit(0).

    .globl _start
_start:
#ifdef __x86_64__
    mov $60, %eax
    xor %edi, %edi
    syscall
#else
    mov $1, %eax
    xor %ebx, %ebx
    int $0x80
#endif

    .section .note.GNU-stack, "", @progbits
