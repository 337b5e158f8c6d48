; bits 16
; A 32-bit offset beyond the segment's limit faults, with the iterations before it done.
; fault = #GP(0) at here
; rcx = 2
; rsi = 0x10000
; rax = 0x66
mov byte [0xffff], 0x66
mov esi, 0xffff
mov ecx, 3
cld
here: a32 rep lodsb
