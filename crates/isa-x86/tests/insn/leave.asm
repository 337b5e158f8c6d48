; LEAVE undoes ENTER; of 16 bits it loads BP alone.
; rsp = 0xf000
; rbp = 0x1122334455667788
; rax = 0x11223344556699aa
mov rbp, 0x1122334455667788
enter 0x100, 0
leave
mov rdx, rbp
mov word [0x5000], 0x99aa
mov rbp, 0x5000
o16 leave
cmp rsp, 0x5002
jne fail
mov rax, rdx
mov ax, bp
mov rbp, rdx
mov esp, 0xf000
jmp done
fail: ud2
done:
