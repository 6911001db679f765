//! One macro for the JSON structs.

/// Declares structs whose fields are all public, may be missing when read, and are left out when written with their
/// empty value (as Go's `omitempty` does, which is what Cilium's clients expect).
macro_rules! model {
    ($( $(#[$meta:meta])* pub struct $name:ident in $case:literal {
        $( $(#[$field_meta:meta])* pub $field:ident: $type:ty ),* $(,)?
    } )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = $case, default)]
        pub struct $name { $(
            $(#[$field_meta])*
            #[serde(skip_serializing_if = "crate::model::is_empty")]
            pub $field: $type
        ),* }
    )* };
}

/// Whether a value is the empty one of its type.
pub(crate) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
