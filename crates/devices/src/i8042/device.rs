use super::{
    Expects, I8042,
    keyboard::Keyboard,
    spec::{
        COMMAND, Config, DATA, INPUT_PORT, KEYBOARD_TEST_PASSED, OutputPort, RAM, SELF_TEST_PASSED, Status,
        TRANSLATION, command, keyboard::BREAK,
    },
};
use bus::{DevCtx, Device, IoError, IoResult, Line, Pio, PioAccess, Reset, Signal, Width};
use std::collections::VecDeque;

impl I8042 {
    /// The controller as firmware leaves it: self-tested, translating, interrupts on `line` enabled, A20 open.
    pub fn new(line: Line) -> Self {
        let config = Config::new().with_interrupt(true).with_system(true).with_aux_disabled(true).with_translate(true);
        let mut ram = [0; RAM];
        ram[0] = config.into_bits();
        Self {
            line,
            ram,
            output_port: OutputPort::new().with_not_reset(true).with_a20(true).with_lines(3),
            output: None,
            last_output: 0,
            answers: VecDeque::new(),
            expects: Expects::ForKeyboard,
            last_was_command: false,
            break_prefix: false,
            keyboard: Keyboard::new(),
        }
    }

    /// Keys pressed or released: scan codes in the keyboard's set ([`I8042::scan_code_set`], normally 2, with 0xF0
    /// before the code of a released key). False if the guest has switched the keyboard off or they do not fit.
    pub fn press(&mut self, cx: &mut DevCtx, codes: &[u8]) -> bool {
        let taken = self.keyboard.press(codes);
        self.update(cx);
        taken
    }

    pub fn scan_code_set(&self) -> u8 {
        self.keyboard.set()
    }

    /// Scroll, num and caps lock lights in bits 0 to 2.
    pub fn leds(&self) -> u8 {
        self.keyboard.leds()
    }

    /// Fills the output buffer and drives the interrupt.
    fn update(&mut self, cx: &mut DevCtx) {
        while self.output.is_none() {
            self.output = match self.answers.pop_front() {
                Some(answer) => Some(answer),
                None if self.config().keyboard_disabled() => break,
                None => match self.keyboard.send() {
                    Some(code) => self.translate(code),
                    None => break,
                },
            };
        }
        cx.irq.set(self.line, self.output.is_some() && self.config().interrupt());
    }

    /// One code on its way from the keyboard; `None` for a prefix that only changes the next.
    fn translate(&mut self, code: u8) -> Option<u8> {
        if !self.config().translate() {
            return Some(code);
        }
        if code == BREAK {
            self.break_prefix = true;
            return None;
        }
        let released = std::mem::take(&mut self.break_prefix);
        let code = TRANSLATION.get(usize::from(code)).copied().unwrap_or(code);
        Some(if released { code | 0x80 } else { code })
    }

    fn status(&self) -> u8 {
        Status::new()
            .with_output_full(self.output.is_some())
            .with_system(self.config().system())
            .with_command(self.last_was_command)
            .with_not_locked(true)
            .into_bits()
    }

    fn set_output_port(&mut self, cx: &mut DevCtx, v: u8) {
        let old = std::mem::replace(&mut self.output_port, OutputPort::from_bits(v));
        if old.a20() != self.output_port.a20() {
            cx.out.signal(Signal::A20(self.output_port.a20()));
        }
        if old.not_reset() && !self.output_port.not_reset() {
            cx.out.signal(Signal::Reset(Reset::Init));
        }
    }

    fn set_config(&mut self, change: impl FnOnce(Config) -> Config) {
        self.ram[0] = change(self.config()).into_bits();
    }

    fn command(&mut self, cx: &mut DevCtx, c: u8) {
        self.expects = Expects::ForKeyboard;
        let answer = match c {
            command::READ_RAM..=command::READ_RAM_END => self.ram[usize::from(c) % RAM],
            command::WRITE_RAM..=command::WRITE_RAM_END => {
                self.expects = Expects::Ram(c % RAM as u8);
                return;
            }
            command::SELF_TEST => {
                self.set_config(|c| c.with_system(true));
                SELF_TEST_PASSED
            }
            command::TEST_KEYBOARD => KEYBOARD_TEST_PASSED,
            command::DISABLE_KEYBOARD => return self.set_config(|c| c.with_keyboard_disabled(true)),
            command::ENABLE_KEYBOARD => return self.set_config(|c| c.with_keyboard_disabled(false)),
            command::READ_INPUT_PORT => INPUT_PORT,
            command::READ_OUTPUT_PORT => self.output_port.with_output_full(self.output.is_some()).into_bits(),
            command::WRITE_OUTPUT_PORT => {
                self.expects = Expects::OutputPort;
                return;
            }
            command::WRITE_OUTPUT_BUFFER => {
                self.expects = Expects::Echo;
                return;
            }
            // clock and data lines of the keyboard, both idle high
            command::READ_TEST_INPUTS => 3,
            command::PULSE.. => {
                if c & 1 == 0 {
                    cx.out.signal(Signal::Reset(Reset::Init));
                }
                return;
            }
            unknown => {
                log::debug!("i8042: unknown command {unknown:#04x}");
                return;
            }
        };
        self.answer(answer);
    }

    /// An answer replaces what waits.
    fn answer(&mut self, byte: u8) {
        self.output = None;
        self.answers = VecDeque::from([byte]);
    }

    fn data(&mut self, cx: &mut DevCtx, v: u8) {
        match std::mem::take(&mut self.expects) {
            Expects::ForKeyboard => {
                // a byte for the keyboard opens its interface again
                self.set_config(|c| c.with_keyboard_disabled(false));
                self.keyboard.receive(v);
            }
            Expects::Ram(i) => self.ram[usize::from(i) % RAM] = v,
            Expects::OutputPort => self.set_output_port(cx, v),
            Expects::Echo => self.answer(v),
        }
    }
}

impl Device for I8042 {
    fn name(&self) -> &'static str {
        "i8042"
    }

    fn reset(&mut self, cx: &mut DevCtx) {
        *self = Self::new(self.line);
        self.update(cx);
    }

    fn pio(&mut self) -> Option<&mut dyn Pio> {
        Some(self)
    }
}

impl Pio for I8042 {
    fn read(&mut self, cx: &mut DevCtx, a: PioAccess) -> IoResult<u32> {
        match (a.port, a.width) {
            (DATA, Width::B1) => {
                // an empty buffer shows the last byte again
                self.last_output = self.output.take().unwrap_or(self.last_output);
                let byte = self.last_output;
                // the wire falls between two bytes, also when the next is ready
                cx.irq.set(self.line, false);
                self.update(cx);
                IoResult::Ok(byte.into())
            }
            (COMMAND, Width::B1) => IoResult::Ok(self.status().into()),
            (DATA | COMMAND, _) => IoError::Width.into(),
            _ => IoError::Register.into(),
        }
    }

    fn write(&mut self, cx: &mut DevCtx, a: PioAccess, value: u32) -> IoResult<()> {
        let v = value as u8;
        match (a.port, a.width) {
            (DATA | COMMAND, Width::B1) => {}
            (DATA | COMMAND, _) => return IoError::Width.into(),
            _ => return IoError::Register.into(),
        }
        self.last_was_command = a.port == COMMAND;
        if self.last_was_command {
            self.command(cx, v)
        } else {
            self.data(cx, v)
        }
        self.update(cx);
        IoResult::Ok(())
    }
}
