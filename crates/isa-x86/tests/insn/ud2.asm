; fault = #UD at here
; rax = 1
mov eax, 1
here: ud2
