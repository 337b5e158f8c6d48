; -2^63 / -1 overflows 32 bits, and 64 bits as well.
; fault = #DE at here
; rdx = 0x80000000
mov edx, 0x80000000
xor eax, eax
mov ecx, -1
here: idiv ecx
