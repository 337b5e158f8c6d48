; bits 16
; Far transfers of both sizes: frames of words or of double words, of which the selector's upper half is not read back; RETF n, IRET.
; rax = 0x1f
; rsp = 0xf000
; rbx = 0x12345678
; rdx = 0x00034444
; flags = C !Z
call 0:sub16
call far [pointer]
o32 call far [pointer32]
push dword 0x55550000   ; the upper half is ignored
push dword far32
o32 retf
far32: or al, 8
push dword 0            ; two words of parameters
push word 0
push word back
retf 4
back:
push word 0x0003        ; CF
push word 0
push word landed
iret
landed:
jnc fail
mov es, [zero]
les bx, [target]
o32 les ebx, [target32]
mov edx, 0x00030000
lds dx, [target]
lahf
or al, 0x10
and ax, 0xff
sahf
stc
jmp done
sub16: cmp sp, 0xeffc
jne fail
or al, 1
retf
sub16b: or al, 2
retf
sub32: cmp sp, 0xeff8
jne fail
or al, 4
o32 retf
fail: ud2
zero: dw 0
pointer: dw sub16b, 0
pointer32: dd sub32
dw 0
target: dw 0x4444, 0
target32: dd 0x12345678
dw 0
done:
