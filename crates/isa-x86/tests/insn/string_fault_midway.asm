; The third element faults, where canonical addresses end: two are done and the registers point at it.
; fault = #GP(0) at here
; rcx = 0xe
; rsi = 0x5010
; rdi = 0x0000800000000000
mov esi, 0x5000
mov rdi, 0x00007ffffffffff0
mov ecx, 0x10
here: rep movsq
