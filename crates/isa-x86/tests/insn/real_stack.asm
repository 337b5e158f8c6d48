; bits 16
; SP wraps; LOOP and JCXZ by CX; CALL and RET of 16 and 32 bits; PUSHA; ENTER with BP.
; rax = 0x6
; rsp = 0xf000
; rbp = 0x55551234
; rcx = 0x77770000
mov ebp, 0x55551234
mov sp, 2
push bp
push bp                 ; at 0xfffe
cmp word [0xfffe], 0x1234
jne fail
pop ax
pop ax
cmp sp, 2
jne fail
mov sp, 0xf000
enter 4, 1
cmp bp, 0xeffe
jne fail
cmp sp, 0xeff8
jne fail
leave
mov ecx, 0x77770003
xor ax, ax
l: add ax, 2
loop l
jcxz ok
fail: ud2
ok:
call dword f
call g
pusha
popa
jmp done
f: o32 ret
g: ret
done:
