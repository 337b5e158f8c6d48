; bits 16
; A push across the end of a 16-bit stack faults; SP stays.
; fault = #SS(0) at here
; rsp = 0x88880002
mov esp, 0x88880002
here: push eax
