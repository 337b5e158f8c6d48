; CALL by offset, register and memory; by RSP it uses the old value; RET imm16 drops arguments.
; rax = 0x7
; rsp = 0xf000
push 0x11
push 0x22
push 0x33
call f
mov ebx, g
call rbx
mov qword [rsp-16], g
sub rsp, 16
call [rsp]
add rsp, 16
jmp done
f: or al, 1
ret 0x18
g: shl al, 1
or al, 1
ret
done:
