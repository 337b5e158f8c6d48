; The largest quotients of each width, signed and unsigned.
; rbx = 0xfeff
; rcx = 0x0080
; rsi = 0xfffeffff
; rdi = 0x80000000
; r8 = 0xfffffffeffffffff
; r9 = 0xffffffffffffffff
; r10 = 0xfffffffffffffffe
; r11 = 0x8000000000000000
; r12 = 0xfffffffffffffffd
; rax = 0xffffffffffffffff
; rdx = 0xfffffffffffffffd
mov ax, 0xfeff          ; ff * ff + fe
mov r15b, 0xff
div r15b
movzx ebx, ax
mov ax, -128 * 127
mov r15b, 127
idiv r15b               ; -128
movzx ecx, ax
mov dx, 0xfffe
mov ax, 0xffff
mov r15w, 0xffff
div r15w
movzx esi, dx
shl esi, 16
mov si, ax
mov edx, 0xe0000000
xor eax, eax
mov r15d, 0x40000000
idiv r15d               ; -2^61 / 2^30 = -2^31
mov edi, eax
mov edx, 0xfffffffe
mov eax, -1
mov r15d, -1
div r15d
mov r8d, edx
shl r8, 32
or r8, rax
mov rdx, 0xfffffffffffffffe
mov rax, -1
mov r15, -1
div r15                 ; 128 by 64 bits
mov r9, rax
mov r10, rdx
mov rdx, -1
mov rax, 0x8000000000000000
mov r15d, 1
idiv r15
mov r11, rax
mov rax, -7
cqo
mov r15d, 4
idiv r15                ; toward 0: -1, remainder -3
mov r12, rdx
