//! Looking at a file's code without its tests, in the same way for all that looks.

/// The methods of a `syn::visit::Visit` that leave out what stands under `#[cfg(test)]` or `#[test]`.
macro_rules! visit_without_tests {
    () => {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            if !super::tree::is_test(super::tree::attributes(item)) {
                syn::visit::visit_item(self, item);
            }
        }

        fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
            if !super::tree::is_test(super::tree::impl_item_attributes(item)) {
                syn::visit::visit_impl_item(self, item);
            }
        }

        fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
            if !super::tree::is_test(super::tree::stmt_attributes(statement)) {
                syn::visit::visit_stmt(self, statement);
            }
        }

        fn visit_field(&mut self, field: &'ast syn::Field) {
            if !super::tree::is_test(&field.attrs) {
                syn::visit::visit_field(self, field);
            }
        }

        fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
            if !super::tree::is_test(&field.attrs) {
                syn::visit::visit_field_value(self, field);
            }
        }
    };
}

pub(super) use visit_without_tests;
