//! What programs on packets share: checked access to bytes, and the parts of the path as functions.

/// Furthest offset that is read directly: no header this datapath looks at lies beyond.
pub const FURTHEST: usize = 512;

/// One load of packet bytes, whose address was checked for its size. Headers lie at odd multiples of two, and the
/// compiler, which must not assume what this machine allows, would fetch them byte by byte.
macro_rules! load {
    ($width:literal, $at:ident => $type:ty) => {{
        let value: u64;
        // SAFETY: the caller has checked the address; the verifier checks it again.
        unsafe {
            asm!(
                concat!("{value} = *(", $width, " *)({at} + 0)"),
                value = out(reg) value,
                at = in(reg) $at,
                options(readonly, nostack, preserves_flags)
            );
        }
        Ok(value as $type)
    }};
}

/// Words of packet bytes from an address that was checked for all of them.
macro_rules! words {
    ($start:ident, $count:expr) => {{
        let mut out = [0_u32; $count];
        let mut i = 0;
        while i < $count {
            let at = $start + i * 4;
            let word: Result<u32, DropReason> = load!("u32", at => u32);
            out[i] = word?;
            i += 1;
        }
        Ok(out)
    }};
}

/// One store of packet bytes, likewise.
macro_rules! store {
    ($width:literal, $at:ident, $value:ident) => {{
        let value = u64::from($value);
        // SAFETY: the caller has checked the address; the verifier checks it again.
        unsafe {
            asm!(
                concat!("*(", $width, " *)({at} + 0) = {value}"),
                value = in(reg) value,
                at = in(reg) $at,
                options(nostack, preserves_flags)
            );
        }
        Ok(())
    }};
}

/// The trait's reading and writing of packet bytes, for a type whose `at(offset, size)` gives the address of bytes that
/// the packet has.
macro_rules! shared_bytes {
    () => {
        shared_bytes!(read u8_at, "u8" => u8);
        shared_bytes!(read u16_at, "u16" => u16);
        shared_bytes!(read u32_at, "u32" => u32);
        shared_bytes!(write set_u8, "u8" => u8);
        shared_bytes!(write set_u16, "u16" => u16);
        shared_bytes!(write set_u32, "u32" => u32);

        #[inline(always)]
        fn words<const N: usize>(&self, offset: u32) -> Result<[u32; N], DropReason> {
            let Some(start) = self.at(offset, N * 4) else { return Err(DropReason::InvalidPacket) };
            words!(start, N)
        }
    };
    (read $name:ident, $width:literal => $type:ty) => {
        #[inline(always)]
        fn $name(&self, offset: u32) -> Result<$type, DropReason> {
            let Some(at) = self.at(offset, size_of::<$type>()) else { return Err(DropReason::InvalidPacket) };
            load!($width, at => $type)
        }
    };
    (write $name:ident, $width:literal => $type:ty) => {
        #[inline(always)]
        fn $name(&mut self, offset: u32, value: $type) -> Result<(), DropReason> {
            let Some(at) = self.at(offset, size_of::<$type>()) else { return Err(DropReason::WriteError) };
            store!($width, at, value)
        }
    };
}

/// A part of the path as a function that the verifier checks once for all its callers, whatever they know: the ways
/// through a part are many, and each would be walked again with everything that follows.
macro_rules! parts {
    ($context:ty, |$ctx:ident| $kernel:expr; $($name:ident = $part:ident),* $(; else $other:expr)? $(,)?) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $name(mut $ctx: $context, work: *mut Work) -> u32 {
                // Counts as a use: where a part needs no context, LLVM would have its callers pass anything.
                // SAFETY: moves a register to itself.
                unsafe { asm!("{0} = {0}", inout(reg) $ctx, options(nomem, nostack, preserves_flags)) };
                // SAFETY: the verifier passes null or a whole Work that only this run uses.
                let Some(work) = (unsafe { work.as_mut() }) else { return DropReason::InvalidPacket as u32 };
                match parts::run(&mut $kernel, Part::$part, work) {
                    Ok(()) => 0,
                    Err(reason) => reason as u32,
                }
            }
        )*

        /// Calls the function of a part.
        #[inline(always)]
        fn call(ctx: $context, part: Part, work: &mut Work) -> Result<(), DropReason> {
            let code = match part {
                $(Part::$part => $name(ctx, work),)*
                $(_ => return $other,)?
            };
            if code == 0 {
                return Ok(());
            }
            // SAFETY: the functions above return nothing but 0 and the discriminants of this `repr(u8)` enum.
            Err(unsafe { core::mem::transmute::<u8, DropReason>(code as u8) })
        }
    };
}

pub(crate) use {load, parts, shared_bytes, store, words};
