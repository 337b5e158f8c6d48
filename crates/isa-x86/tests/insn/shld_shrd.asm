; Double shifts: results, CF the last bit out, OF of one bit; 64-bit counts mask to 6 bits.
; rax = 0x23456789
; rbx = 0xdeadbeef12345678
; rdx = 0x8000000000000000
; rsi = 0x1
; r8 = 0x00000001
; r9 = 0xabcd
; flags = C O
mov eax, 0x12345678
mov ecx, 0x9abcdef0
shld eax, ecx, 4
mov rbx, 0x1234567890abcdef
mov rcx, 0xdeadbeef
shrd rbx, rcx, 32
mov rdi, 0x1234567890abcdef
cmp ebx, 0x12345678
jne fail
mov rsi, 1
mov r8d, 1
mov cl, 64
shld rsi, rax, cl   ; by 0
mov cl, 32
shrd r8d, eax, cl   ; by 0
mov r9w, 0xbcde
mov r10w, 0xa000
mov cl, 4
shrd r9w, r10w, cl  ; 0x0bcd
or r9w, 0xa000
mov eax, 0x12345678
mov ecx, 0x9abcdef0
shld eax, ecx, 4
mov edx, 1
mov r11, 1
shrd rdx, r11, 1    ; the sign changes: O; 1 goes out: C
jmp done
fail: ud2
done:
