; The third element faults, where canonical addresses end: the registers point at it, the flags are those before the instruction (SDM 2 REP).
; AMD's processors leave those of the second element.
; fault = #GP(0) at here
; rcx = 0xe
; rdi = 0x0000800000000000
; flags = C P A Z S !O
mov ah, 0xd5
sahf
mov al, 5
mov rdi, 0x00007ffffffffff0
mov ecx, 0x10
here: repne scasq
