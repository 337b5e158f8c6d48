; A segment override is for the source alone; XLAT takes one too.
; rax = 0x5a
; mem 0x5000 = 5a
; rsi = 0x11
mov edx, 0x6000
wrfsbase rdx
mov byte [0x6010], 0x5a
mov esi, 0x10
mov edi, 0x5000
fs movsb
mov ebx, 0x8
mov al, 0x8
fs xlatb
