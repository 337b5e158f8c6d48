; Saving and restoring x87 and SSE state, extended control registers, CPUID's answers, port strings and their permissions.
%define LONG
%include "sys.inc"

%define AREA 0x30000

%macro CASE 1
    PUTS 64, %1, ':'
%endmacro
%macro ENDCASE 0
    PUTS 64, 10
%endmacro

    CASE 'fxsave64'
    fninit
    fld1
    fldz
    fldpi
    mov rax, 0x1122334455667788
    movq xmm0, rax
    movq xmm15, rax
    pshufd xmm15, xmm15, 0x4e
    mov dword [AREA + 0x1f0], 0x5a5a5a5a
    fxsave64 [AREA]
    movzx ebx, word [AREA]
    SHOW 'fcw', ebx
    movzx ebx, word [AREA + 2]
    SHOW 'fsw', ebx
    movzx ebx, byte [AREA + 4]
    SHOW 'ftw', ebx
    SHOWM 'mxcsr', AREA + 24
    SHOWM 'st0', AREA + 36
    SHOWM 'st2', AREA + 32 + 32 + 4
    SHOWM 'exponent', AREA + 32 + 32 + 8
    SHOWM 'xmm0', AREA + 160
    SHOWM 'xmm15', AREA + 160 + 15 * 16 + 8
    SHOWM 'left', AREA + 0x1f0
    ENDCASE
    CASE 'fxrstor64'
    mov dword [AREA + 24], 0x1fa0
    mov dword [AREA + 160 + 16], 0x12345678
    pxor xmm15, xmm15
    fninit
    fxrstor64 [AREA]
    stmxcsr [AREA + 0x400]
    SHOWM 'mxcsr', AREA + 0x400
    movd ebx, xmm1
    SHOW 'xmm1', ebx
    pextrd ebx, xmm15, 3
    SHOW 'xmm15', ebx
    fstp dword [AREA + 0x400]
    SHOWM 'pi', AREA + 0x400
    fnstsw ax
    movzx ebx, ax
    SHOW 'fsw', ebx
    ENDCASE
    TRY 'fxsave misaligned'
    fxsave [AREA + 8]
    DONE
    TRY 'fxrstor of a bad MXCSR'
    mov dword [AREA + 24], 0x11f80
    fxrstor [AREA]
    DONE
    mov dword [AREA + 24], 0x1f80
    TRY 'fxsave with CR0.TS'
    mov rax, cr0
    or al, 8
    mov cr0, rax
    fxsave [AREA]
    DONE
    clts
    TRY 'xgetbv without CR4.OSXSAVE'
    xor ecx, ecx
    xgetbv
    DONE
    TRY 'xsave without CR4.OSXSAVE'
    xsave [AREA]
    DONE
    mov rax, cr4
    bts eax, 18
    mov cr4, rax
    TRY 'xsetbv without x87'
    xor ecx, ecx
    mov eax, 2
    xor edx, edx
    xsetbv
    DONE
    TRY 'xsetbv of XCR1'
    mov ecx, 1
    mov eax, 3
    xor edx, edx
    xsetbv
    DONE
    CASE 'xsetbv and xgetbv'
    xor ecx, ecx
    mov eax, 3
    xor edx, edx
    xsetbv
    xor eax, eax
    xgetbv
    mov ebx, eax
    SHOW 'xcr0', ebx
    ENDCASE
    CASE 'xsave of SSE only'
    mov edi, AREA
    xor eax, eax
    mov ecx, 1024 / 4
    rep stosd
    mov dword [AREA + 512], 1
    mov rax, 0x1122334455667788
    movq xmm0, rax
    mov eax, 2
    xor edx, edx
    xsave [AREA]
    SHOWM 'fcw', AREA
    SHOWM 'mxcsr', AREA + 24
    SHOWM 'xmm0', AREA + 160
    SHOWM 'bv', AREA + 512
    ENDCASE
    CASE 'xrstor initialises what is not there'
    mov dword [AREA + 512], 0
    mov dword [AREA + 24], 0x1fa0
    fld1
    mov eax, 3
    xor edx, edx
    xrstor [AREA]
    movd ebx, xmm0
    SHOW 'xmm0', ebx
    fnstsw ax
    movzx ebx, ax
    SHOW 'fsw', ebx
    stmxcsr [AREA + 0x400]
    SHOWM 'mxcsr', AREA + 0x400
    ENDCASE
    TRY 'xrstor of a component beyond XCR0'
    mov dword [AREA + 512], 1 << 9
    mov eax, -1
    xrstor [AREA]
    DONE
    TRY 'xrstor of a bad header'
    mov dword [AREA + 512], 3
    mov dword [AREA + 512 + 16], 1
    mov eax, -1
    xrstor [AREA]
    DONE
    TRY 'xsave misaligned'
    xsave [AREA + 32]
    DONE

%ifndef LAX
    CASE 'cpuid'
%macro LEAF 2
    mov eax, %1
    mov ecx, %2
    cpuid
    mov [AREA], eax
    mov [AREA + 4], ebx
    mov [AREA + 8], ecx
    mov [AREA + 12], edx
    PUTS 64, 10, ' '
    PUTHEX 64, %1, 8
    SHOWM '', AREA
    SHOWM '', AREA + 4
    SHOWM '', AREA + 8
    SHOWM '', AREA + 12
%endmacro
    LEAF 0, 0
    LEAF 1, 0
    LEAF 2, 0
    LEAF 4, 0
    LEAF 4, 3
    LEAF 4, 4
    LEAF 7, 0
    LEAF 7, 2
    LEAF 0xb, 0
    LEAF 0xb, 1
    LEAF 0xb, 2
    LEAF 0xd, 0
    LEAF 0xd, 1
    LEAF 0xd, 2
    LEAF 0x15, 0
    LEAF 0x16, 0
    LEAF 0x40000000, 0
    LEAF 0x80000000, 0
    LEAF 0x80000001, 0
    LEAF 0x80000002, 0
    LEAF 0x80000007, 0
    LEAF 0x80000008, 0
    ENDCASE
%endif

    CASE 'rep outsb'
    mov esi, text
    mov ecx, 6
    mov edx, 0xe9
    rep outsb
    mov ebp, esi
    sub ebp, text
    mov edi, ecx
    SHOW 'left', edi
    SHOW 'moved', ebp
    ENDCASE
    CASE 'outsb with fs'
    mov ecx, 0xc0000100
    mov eax, text - 0x10
    xor edx, edx
    wrmsr
    mov esi, 0x10
    mov edx, 0xe9
    fs outsb
    mov esi, text + 5
    std
    mov ecx, 3
    rep outsb
    cld
    ENDCASE
    TRY 'insb to an absent page reads nothing'
    mov qword [PT + 8], 0
    invlpg [PAGE0 + 0x1000]
    mov edi, PAGE0 + 0x1000
    mov edx, 0x80
    insb
    DONE
    mov byte [tss + 103], 0
    mov byte [tss + 102], 0x40          ; the permission map, behind the stacks
    mov dword [tss + 0x40 + 0x1c], 1 << 9    ; denies port 0xe9 alone
    TRY 'user: a denied port among permitted ones'
    TO_USER .user
.user:
    in al, 0xe8
    in al, 0xea
    in ax, 0xe8
    DONE
    mov dword [tss + 0x40 + 0x1c], 0
    TRY 'rdtsc with CR4.TSD'
    mov rax, cr4
    or al, 4
    mov cr4, rax
    TO_USER .user2
.user2:
    rdtsc
    DONE
    CASE 'time-stamp counter set and adjusted'
    mov ecx, 0x10
    mov eax, 0
    mov edx, 0x100
    wrmsr
    rdtsc
    mov ebx, edx
    SHOW 'high', ebx
    mov ecx, 0x3b
    rdmsr
    add edx, 0x20
    wrmsr
    rdtsc
    mov ebx, edx
    SHOW 'high', ebx
    ENDCASE
    FINISH
text: db 'abcdef'
