; A bit offset in a register reaches beyond the operand in memory, both ways; an immediate does not; a register operand masks it.
; rcx = 0x1
; r8 = 0x80000000
; mem 0x5000 = 00 01 00 00 00 00 00 80 00 00 00 02
; mem 0x4ff8 = 00 00 00 00 00 00 00 80
; mem 0x6000 = 08
; flags = !C
mov ebx, 0x5000
mov eax, 8
bts [rbx], eax          ; byte 1
mov rax, -1
bts qword [rbx], rax    ; the bit below 0x5000
mov ax, 89
bts word [rbx], ax      ; word 5, bit 9
mov rax, 63
btc qword [rbx], rax
bt dword [rbx+8], 25+32 ; an immediate is masked: bit 25
setc cl
movzx ecx, cl
mov eax, 0x10003
mov edi, 0x6000
bts word [rdi], ax      ; 16-bit offset: 3
mov r8d, 0
mov eax, 31+32
bts r8d, eax
mov eax, 30
btr r8d, eax
