; bits 16
; Address-size prefix in real mode: 32-bit pointers and counts for strings, LOOP, JECXZ, XLAT, whose upper halves count.
; rax = 5
; rcx = 0
; rsi = 0x5003
; rdi = 0x6003
; rdx = 0x10000
; mem 0x6000 = 01 02 03
mov dword [0x5000], 0x05030201
mov esi, 0x5000
mov edi, 0x6000
mov ecx, 3
a32 rep movsb
mov ecx, 0x10001
a32 loop taken          ; ECX is 0x10000: CX would be 0
jmp fail
taken: a32 jecxz fail
jcxz short_count
jmp fail
short_count:
mov edx, ecx
xor ecx, ecx
mov ebx, 0x5000
mov eax, 3
a32 xlatb
jmp done
fail: ud2
done:
