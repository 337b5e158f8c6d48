; POPCNT clears all flags but ZF; BSWAP; MOVBE both ways; CRC32 of "123456789" is the CRC-32C check value.
; rax = 0x20
; rcx = 0x8877665544332211
; rdx = 0x44332211
; rbx = 0x1cf96d7c
; rsi = 0xefcd
; mem 0x5000 = 11 22 33 44 55 66 77 88
; mem 0x5010 = 12 34
; flags = !Z !C !O !S !P !A
mov ebx, 0x5000
mov rcx, 0x1122334455667788
movbe [rbx], rcx
bswap rcx
mov edx, ecx
mov edx, 0x11223344
bswap edx
mov ax, 0x1234
movbe [rbx+0x10], ax
mov word [rbx+0x12], 0xcdef
movbe si, [rbx+0x12]
mov rdi, 0x3837363534333231
mov ebx, -1
crc32 rbx, rdi
mov al, 0x39
crc32 ebx, al
xor ebx, -1
not ebx
xor ebx, -1
sub ebx, 0xe3069283
jne fail
mov ebx, 0x1cf96d7c     ; ~0xe3069283
mov eax, -1
popcnt rax, rax
jmp done
fail: ud2
done:
