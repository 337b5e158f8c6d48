; MOVS upward onto itself repeats a pattern, across a page's end too.
; rcx = 0x0
; mem 0x4ffe = 01 02 01 02 01 02 01 02 01 02
; mem 0x5e00 = 01 02 01
mov word [0x4ffe], 0x0201
mov esi, 0x4ffe
mov edi, 0x5000
mov ecx, 0x1000
rep movsb
