//! All devices as one type, for boards: see decision 034.

use crate::device::{VirtioDevice, Work};
use crate::queue::Broken;
use crate::spec::DeviceType;
use crate::{Balloon, Blk, Console, Input, Net, P9, Rng};

macro_rules! devices {
    ($($name:ident)*) => {
        /// Any of the devices.
        pub enum AnyDevice { $($name($name)),* }

        impl AnyDevice {
            fn get(&self) -> &dyn VirtioDevice {
                match self { $(Self::$name(d) => d),* }
            }

            fn get_mut(&mut self) -> &mut dyn VirtioDevice {
                match self { $(Self::$name(d) => d),* }
            }
        }

        $(impl From<$name> for AnyDevice {
            fn from(device: $name) -> Self {
                Self::$name(device)
            }
        })*
    };
}

devices! { Balloon Blk Console Input Net P9 Rng }

impl VirtioDevice for AnyDevice {
    fn device_type(&self) -> DeviceType {
        self.get().device_type()
    }

    fn queues(&self) -> &[u16] {
        self.get().queues()
    }

    fn features(&self) -> u64 {
        self.get().features()
    }

    fn config(&self) -> Vec<u8> {
        self.get().config()
    }

    fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        self.get_mut().write_config(offset, bytes);
    }

    fn process(&mut self, work: &mut Work) -> Result<(), Broken> {
        self.get_mut().process(work)
    }

    fn stop(&mut self, queue: usize) {
        self.get_mut().stop(queue);
    }

    fn reset(&mut self) {
        self.get_mut().reset();
    }
}
