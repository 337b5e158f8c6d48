; OF and CF of shifts and rotates by 1, each kept as SETO + 2 * SETC in a byte of RSI.
; rsi = 0x0101030200010101
%macro keep 0
seto cl
setc dl
lea ecx, [rcx+rdx*2]
shl rsi, 8
mov sil, cl
%endmacro
xor esi, esi
xor ecx, ecx
xor edx, edx
mov al, 0x80
shr al, 1           ; O = the sign that was
keep
mov al, 0x40
shl al, 1           ; O = the sign changed
keep
mov al, 0x80
shl al, 1           ; C, O
keep
mov al, 0x03
sar al, 1           ; C, never O
keep
mov eax, 2
shr eax, 1          ; neither
keep
mov al, 0x40
rol al, 1           ; O
keep
mov ax, 0x0001
ror ax, 1           ; C, and O: the two top bits differ; RCR moves it to
rcr ax, 1           ; 0xc000: C = 0, O = 0; again 0x6000
rcr ax, 1           ; C = 0, O = 1
keep
mov al, 0x40
clc
rcl al, 1           ; O
keep
