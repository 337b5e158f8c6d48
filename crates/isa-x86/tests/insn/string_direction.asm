; Down: MOVSQ and STOSB; SCASB with a 32-bit address size, which clears the pointer's upper half.
; rsi = 0x5ff0
; rdi = 0x6ff7
; rax = 0x5566778844332211
; rcx = 0x0
; mem 0x6ff8 = 88 77 66 55 44 33 22 11 01 02 03 04 05 06 07 08
; mem 0x7100 = 00 ab ab ab
; flags = D
mov rax, 0x0807060504030201
mov [0x6000], rax
mov rax, 0x1122334455667788
mov [0x5ff8], rax
mov edi, 0x7103
mov ecx, 3
mov al, 0xab
std
rep stosb
cmp edi, 0x7100
jne fail
mov esi, 0x6000
mov edi, 0x7000
mov ecx, 2
rep movsq
mov rax, 0x5566778844332211
mov rdi, 0xffffffff00006ff8
a32 scasb
cmp rdi, 0x6ff7
jne fail
jmp done
fail: ud2
done:
