; A masked count of 0 changes no flag, but a 32-bit destination is written: its upper half is cleared.
; rax = 0x89abcdef
; rbx = 0xffffffff80000000
; rsi = 0x123456789abcdef0
; flags = C Z P !S !O A
mov rax, 0x0123456789abcdef
mov rbx, -0x80000000
mov rsi, 0x123456789abcdef0
mov rdx, 0x00d5             ; C P A Z S
xor edi, edi
mov ah, 0x55
sahf
mov ah, 0xcd
mov cl, 32
shl eax, cl
mov cl, 64
sar rbx, cl
ror si, 0
