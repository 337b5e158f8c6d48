; When the x87, MMX and SSE may be used, and what they report (SDM 3 2.5, 13.1, table 2-2; SDM 2 2.4). Results are compared with the
; host's processor by crate `diff`.
;
; Each instruction is at one address in all states, so that a second tier has it translated in one and meets it in another.
%define LONG
%include "sys.inc"

%define AREA 0x30000
%define MP 2
%define EM 4
%define TS 8
%define NE 0x20
%define OSFXSR 0x200
%define OSXMMEXCPT 0x400
%define STATE_BYTES 48

    mov rax, cr0
    or eax, NE
    mov cr0, rax

%macro UNIT 2+                  ; name, instruction
    mov r12d, states
%%state:
    fninit
    mov eax, [r12 + 8]
    fldenv [rax]
    mov rax, cr4
    and eax, ~OSFXSR
    or eax, [r12 + 4]
    mov cr4, rax
    mov rax, cr0
    or eax, [r12]
    mov cr0, rax
    lea esi, [r12 + 12]
    call puts64
    TRY %1
    %2
    DONE
    mov rax, cr0
    and eax, ~(MP | EM | TS)
    mov cr0, rax
    add r12d, STATE_BYTES
    cmp r12d, states_end
    jb %%state
%endmacro

    UNIT 'xorps', xorps xmm0, xmm0
    UNIT 'pxor of MMX', pxor mm0, mm0
    UNIT 'emms', emms
    UNIT 'movdq2q', movdq2q mm0, xmm0
    UNIT 'ldmxcsr', ldmxcsr [mxcsr]
    UNIT 'movnti', movnti [AREA], eax
    UNIT 'fld1', fld1
    UNIT 'fnstsw', fnstsw ax
    UNIT 'fninit', fninit
    UNIT 'fnclex', fnclex
    UNIT 'fldcw', fldcw [pending]
    UNIT 'fnstcw', fnstcw [AREA]
    UNIT 'fwait', fwait
    fninit
    mov rax, cr4
    or eax, OSFXSR
    mov cr4, rax

    mov r12d, OSXMMEXCPT
.divide:
    ldmxcsr [zero_unmasked]
    movaps xmm0, [ones]
    movaps xmm1, [divisors]
    mov rax, cr4
    and eax, ~OSXMMEXCPT
    or eax, r12d
    mov cr4, rax
    TRY 'divps by zero, unmasked'
    divps xmm0, xmm1
    DONE
    movaps [AREA], xmm0
    stmxcsr [AREA + 16]
    PUTS 64, ' and then'
    ; ZE of the third element; not PE of the first, which comes after the computation that did not happen.
    SHOWM 'mxcsr', AREA + 16
    SHOWM 'xmm0', AREA
    SHOWM '', AREA + 4
    SHOWM '', AREA + 8
    SHOWM '', AREA + 12
    PUTS 64, 10
    xor r12d, OSXMMEXCPT
    jz .divide
    mov rax, cr4
    or eax, OSXMMEXCPT
    mov cr4, rax

    ldmxcsr [mxcsr]
    mov r12d, mxcsrs
.mxcsr:
    TRY 'ldmxcsr'
    ldmxcsr [r12]
    DONE
    stmxcsr [AREA]
    PUTS 64, ' and then'
    SHOWM 'mxcsr', AREA
    PUTS 64, 10
    add r12d, 4
    cmp r12d, mxcsrs_end
    jb .mxcsr

    ; MMX registers are the x87's by physical number.
    fldenv [top_5]
    mov rax, 0xffffffff87654321
    movd mm3, eax
    fxsave [AREA]
    emms
    PUTS 64, 'movd to mm3, TOP being 5:'
    SHOWM 'fcw and fsw', AREA
    movzx ebx, byte [AREA + 4]
    SHOW 'ftw', ebx
    SHOWM 'st3', AREA + 32 + 48 + 8
    SHOWM '', AREA + 32 + 48 + 4
    SHOWM '', AREA + 32 + 48
    PUTS 64, 10

    ; As a processor has it that does not announce CPUID.7:EBX[13]: of overrides in 64-bit mode only those of FS and GS count.
%macro FDS 2+                   ; name, instruction
    fninit
    %2
    fnstenv [AREA + 0x100]
    movzx ebx, word [AREA + 0x100 + 24]
    SHOW %1, ebx
%endmacro
    PUTS 64, 'fds, SS being 10, DS 40, GS 30:'
    mov eax, DATA16
    mov ds, eax
    mov eax, UDATA
    mov gs, eax
    push rbp
    mov ebp, AREA + 8
    mov r8d, AREA
    mov r12d, AREA
    FDS '[r8]', fld dword [r8]
    FDS '[rsp]', fld dword [rsp]
    FDS '[rbp-4]', fld dword [rbp - 4]
    FDS '[r12]', fld dword [r12]
    FDS 'ss:[r8]', db 0x36, 0x41, 0xd9, 0x00
    FDS 'ds:[rsp]', db 0x3e, 0xd9, 0x04, 0x24
    FDS 'gs:[r8]', fld dword [gs:r8]
    FDS 'gs:[rsp]', fld dword [gs:rsp]
    FDS '[rip]', fld dword [rel ones]
    pop rbp
    mov eax, DATA32
    mov ds, eax
    mov gs, eax
    PUTS 64, 10
    FINISH

%macro STATE 4                  ; bits of CR0, of CR4, an x87 environment, name
%%at: dd %1, %2, %3
    db %4, 0
    times STATE_BYTES - ($ - %%at) db 0
%endmacro
states:
    STATE 0, OSFXSR, clear, ''
    STATE TS, OSFXSR, clear, 'TS, '
    STATE MP | TS, OSFXSR, clear, 'MP and TS, '
    STATE EM, OSFXSR, clear, 'EM, '
    STATE EM | MP | TS, OSFXSR, pending, 'EM, MP and TS, pending, '
    STATE EM, OSFXSR, pending, 'EM, pending, '
    STATE TS, OSFXSR, pending, 'TS, pending, '
    STATE MP | TS, OSFXSR, pending, 'MP and TS, pending, '
    STATE 0, OSFXSR, pending, 'pending, '
    STATE 0, 0, clear, 'no OSFXSR, '
    STATE EM | MP | TS, 0, clear, 'EM, MP and TS, no OSFXSR, '
states_end:

align 16
ones: dd 1.0, 1.0, 1.0, 1.0
divisors: dd 3.0, 1.0, 0.0, 1.0
mxcsr: dd 0x1f80
zero_unmasked: dd 0x1f80 & ~0x200
mxcsrs: dd 0xffff, 0x11f80, 0x1f80
mxcsrs_end:
%macro ENVIRONMENT 2            ; FCW, FSW
    dd %1, %2, 0xffff, 0, 0, 0, 0
%endmacro
clear: ENVIRONMENT 0x37f, 0
pending: ENVIRONMENT 0x37e, 0x8081
top_5: ENVIRONMENT 0x37f, 5 << 11
