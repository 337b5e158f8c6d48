; What is no instruction after 14 prefixes is #UD, not #GP(0).
; fault = #UD at here
here: times 13 db 0x66
db 0x0f, 0x04
