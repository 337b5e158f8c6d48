; Of 0: ZF, the destination stays, all 64 bits of it. F3 makes no TZCNT or LZCNT: they are not announced.
; rax = 0x1122334455667788
; rcx = 63
; rdx = 4
; rbx = 28
; rsi = 0x7777
; flags = Z
mov rax, 0x1122334455667788
xor r8d, r8d
bsf eax, r8d
jnz fail
mov rcx, -1
bsr rcx, rcx
mov r9d, 0x10000010
db 0xf3                 ; TZCNT's bytes
bsf edx, r9d
jz fail
db 0xf3                 ; LZCNT's bytes: LZCNT would give 3
bsr ebx, r9d
mov esi, 0x7777
bsr si, r8w
jmp done
fail: ud2
done:
