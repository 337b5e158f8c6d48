; bits 16
; ENTER of 16 bits: BP alone changes. LEAVE takes SP from BP and leaves the upper halves.
; rbp = 0x55556666
; rsp = 0x1234f000
; rax = 0x5555effe
mov esp, 0x1234f000
mov ebp, 0x55556666
enter 8, 1
mov eax, ebp
cmp sp, 0xeff4
jne fail
leave
jmp done
fail: ud2
done:
