; bits 16
; A 32-bit branch beyond CS's limit faults at the branch.
; fault = #GP(0) at here
; rax = 0x10000
; rsp = 0xf000
mov eax, 0x10000
here: call eax
