# cmake -P: writes OUTPUT, a .cc with every DIRECTORY/*.sql in order as a string.
# SCHEMA, NAMESPACE and HEADER say what it defines and where that is declared.
set(rows "")
file(GLOB files ${DIRECTORY}/*.sql)
list(SORT files)
foreach(file ${files})
  get_filename_component(name ${file} NAME_WE)
  if(NOT name MATCHES "^([0-9][0-9][0-9][0-9])_[a-z0-9_]+$")
    message(FATAL_ERROR "${file}: migrations are named NNNN_name.sql")
  endif()
  string(REGEX REPLACE "^0+" "" number "${CMAKE_MATCH_1}")
  file(READ ${file} sql)
  # A compiler need not take string literals beyond 64 KiB; that much SQL wants two files anyway.
  string(LENGTH "${sql}" length)
  if(length GREATER 65000)
    message(FATAL_ERROR "${file}: split it, it is longer than 65,000 bytes")
  endif()
  string(APPEND rows "      {${number}, \"${name}\", R\"rochdale_sql(${sql})rochdale_sql\"},\n")
endforeach()
file(WRITE ${OUTPUT} "// Generated from the migrations of ${SCHEMA}.
#include \"${HEADER}\"

namespace ${NAMESPACE} {

const rochdale::pg::MigrationSet& Migrations() {
  static const auto* set = new rochdale::pg::MigrationSet{\"${SCHEMA}\", {
${rows}  }};
  return *set;
}

}  // namespace ${NAMESPACE}
")
