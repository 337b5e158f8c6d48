; Real mode: the interrupt table, far transfers, wrap-around and limits, the way to protected mode and back.
%define REAL
%include "sys.inc"

bits 16
%macro PUT16 1+
    jmp %%over
%%text: db %1, 0
%%over:
    mov si, %%text
    call puts16
%endmacro
%macro SHOW16 2                 ; name, 16-bit register
    PUT16 ' ', %1, ' '
    mov ax, %2
    call puthex16
%endmacro
puts16:
    lodsb
    test al, al
    jz .end
    out 0xe9, al
    jmp puts16
.end:
    ret
puthex16:
    push cx
    push bx
    mov cx, 4
    mov bx, ax
.digit:
    rol bx, 4
    mov al, bl
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    out 0xe9, al
    loop .digit
    pop bx
    pop cx
    ret

real_main:
    ; Handlers for all vectors: the stub's own address says which.
    xor di, di
    mov cx, 32
    mov ax, real_stubs
.fill:
    stosw
    mov word [di], 0
    add di, 2
    add ax, 8
    loop .fill
    mov sp, 0x7000
    mov word [0x20 * 4], real_int
    mov word [0x20 * 4 + 2], 0

    PUT16 'int'
    sti
    std
    int 0x20
    pushf
    pop bx
    and bx, 0x700
    cld
    cli
    SHOW16 'flags', bx
    PUT16 10

    PUT16 'divide'
    mov word [resume], .divided
    xor cx, cx
    div cx
.divided:
    PUT16 'word at the end of the segment'
    mov word [resume], .wrapped
    mov bx, 0xffff
    mov ax, [bx]
.wrapped:
    PUT16 'word at the end of the stack'
    mov word [resume], .stack
    mov bp, 0xffff
    mov dx, ss
    mov ax, 0x5000
    mov ss, ax
    mov cx, sp
    mov ax, [bp]
.stack:
    PUT16 'push at 0 wraps'
    mov word [resume], .pushed
    xor sp, sp
    push word 0x1234
    mov bx, sp
    mov sp, cx
    mov ss, dx
    SHOW16 'sp', bx
.pushed:
    PUT16 10, 'hlt, cli, lgdt are free; lldt is not'
    lgdt [gdtr]
    mov word [resume], .lldt
    lldt ax
.lldt:
    PUT16 'far call'
    call 0x7c0:.far - 0x7c00
    jmp .called
.far:
    mov bx, cs
    retf
.called:
    SHOW16 'cs', bx
    PUT16 10, 'far return with parameters'
    mov cx, sp
    push word 0x5555
    push cs
    push word .returned
    retf 2
.returned:
    sub cx, sp
    SHOW16 'left', cx
    PUT16 10, 'IDT limit'
    lidt [.short]
    mov word [resume], .limited
    jmp .try_short
.short: dw 0x20 * 4 + 2
    dd 0
.try_short:
    int 0x20
.limited:
    PUT16 'into'
    mov word [resume], .overflow
    mov al, 0x7f
    inc al
    into
.overflow:
    lidt [real_idtr]

    PUT16 'protected mode and back, with a 4 GiB segment'
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov bx, DATA32
    mov fs, bx
    and al, 0xfe
    mov cr0, eax
    mov bx, fs
    SHOW16 'fs', bx
    mov ebx, 0x200000
    mov dword [fs:ebx], 0x12345678
    xor bx, bx
    mov fs, bx
    mov ebx, 0x200002
    mov bx, [fs:ebx]
    SHOW16 'word', bx
    smsw bx
    and bx, 1
    SHOW16 'PE', bx
    PUT16 10
    FINISH

real_int:
    pushf
    pop bx
    and bx, 0x700
    SHOW16 'in handler', bx
    pop ax
    push ax
    sub ax, real_main
    iret

align 8
real_stubs:
%assign v 0
%rep 32
    align 8
    push word v
    jmp strict near real_common
%assign v v + 1
%endrep
real_common:
    cld
    mov bp, sp
    push ax
    push bx
    xor bx, bx
    mov bx, [bp + 2]
    mov di, [bp]
    mov ds, [cs:zero]
    SHOW16 'vector', di
    SHOW16 'sp', bp
    PUT16 10
    xor ax, ax
    mov ss, ax
    mov sp, 0x7000
    jmp [resume]
zero: dw 0
