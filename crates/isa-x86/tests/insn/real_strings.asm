; bits 16
; Offsets and counts are of 16 bits: pointers wrap at 64 KiB, CX alone counts; the upper halves stay.
; rdi = 0x11110001
; rsi = 0x22220003
; rcx = 0x33330000
; mem 0xfffe = aa bb
; mem 0x0 = cc
mov dword [0x5000], 0x00ccbbaa
mov ecx, 0x33330003
mov edi, 0x1111fffe
mov esi, 0x22225000
rep movsb
sub esi, 0x5000
