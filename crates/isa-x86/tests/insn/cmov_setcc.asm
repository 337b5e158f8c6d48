; A CMOV not taken clears the upper half of a 32-bit destination, leaves that of a 16-bit one, and reads its source. SETcc of AH.
; rax = 0x100
; rbx = 0x89abcdef
; rcx = 0x0123456789abcdef
; rdx = 0x1111111111112222
mov rbx, 0x0123456789abcdef
mov rcx, rbx
mov rdx, 0x1111111111111111
mov esi, 0x2222
xor eax, eax
cmovne ebx, esi
cmovne cx, si
cmove dx, si
sete ah
setne al
