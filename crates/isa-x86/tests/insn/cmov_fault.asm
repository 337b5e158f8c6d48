; The source is read though the condition fails.
; fault = #GP(0) at here
; rbx = 0x5
mov ebx, 5
mov rsi, 0x8000000000000000
xor eax, eax
here: cmovne rbx, [rsi]
