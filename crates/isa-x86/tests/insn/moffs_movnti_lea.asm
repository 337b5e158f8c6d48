; 64-bit absolute addresses; LEA truncates to address size, then to operand size.
; rax = 0x1122334455667788
; rbx = 0xffffffff
; rcx = 0xffff
; rdx = 0xfffffffffffffffe
; mem 0x5000 = 88 77 66 55 44 33 22 11
; mem 0x5008 = 44 33 22 11
mov rax, 0x1122334455667788
mov [qword 0x5000], rax
xor eax, eax
mov rax, [qword 0x5000]
mov ebx, 0x11223344
mov edi, 0x5008
movnti [rdi], ebx
mov rsi, -1
lea rbx, [esi]
lea cx, [rsi]
lea rdx, [rsi+rsi]
