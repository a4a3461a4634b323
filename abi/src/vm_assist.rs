//! Options of the calling domain (`public/xen.h`, `vm_assist`): x0 the sub-operation, x1 the option.

numbers! {
    /// A sub-operation of `vm_assist`.
    VmAssistOp: u32 {
        /// Switches an option on.
        Enable = 0,
        /// Switches an option off.
        Disable = 1,
    }
}

numbers! {
    /// An option that exists on Arm.
    VmAssist: u32 {
        /// Mark a run-state area while it is being written.
        RunstateUpdateFlag = 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(VmAssist::from_number(5), Some(VmAssist::RunstateUpdateFlag));
        assert_eq!(VmAssistOp::from_number(1), Some(VmAssistOp::Disable));
    }
}
