; fault = #GP(0) at here
; rax = 0x0
mov edi, 0x5008
here: cmpxchg16b [rdi]
