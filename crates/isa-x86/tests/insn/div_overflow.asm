; The quotient 2^64 does not fit.
; fault = #DE at here
; rdx = 0x5
mov edx, 5
mov ecx, 5
here: div rcx
