; A 32-bit offset is signed; with a 32-bit address size the sum wraps at 4 GiB.
; mem 0x3fff = 80
; mem 0x1000 = 01
; flags = !C
mov ebx, 0x4000
mov eax, -1
bts dword [rbx], eax
mov ecx, 0xfffff000
mov eax, 0x2000*8
btc dword [ecx], eax
