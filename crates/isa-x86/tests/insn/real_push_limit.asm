; bits 16
; fault = #SS(0) at here
; rsp = 0x1
mov sp, 1
here: push ax
