# Compiles SQL files in. See libs/pg/migrations.h.
# Writes OUTPUT (a .cc that defines NAMESPACE::Migrations()) from DIRECTORY/*.sql at build time.
function(rochdale_embed_migrations output directory schema namespace header)
  set(script ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/embed_migrations.cmake)
  file(GLOB files CONFIGURE_DEPENDS ${directory}/*.sql)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DDIRECTORY=${directory} -DSCHEMA=${schema}
            -DNAMESPACE=${namespace} -DHEADER=${header} -P ${script}
    DEPENDS ${files} ${script}
    VERBATIM)
endfunction()

# rochdale_migrations(ledger), called from services/ledger/CMakeLists.txt: the library
# rochdale_ledger_migrations, declared in "services/ledger/migrations.h".
function(rochdale_migrations service)
  set(include ${CMAKE_BINARY_DIR}/generated/migrations)
  set(header services/${service}/migrations.h)
  file(CONFIGURE OUTPUT ${include}/${header} @ONLY CONTENT
"// Generated. The migrations of the service @service@ (services/@service@/migrations/*.sql).
#pragma once

#include \"libs/pg/migrations.h\"

namespace rochdale::@service@ {

const pg::MigrationSet& Migrations();

}  // namespace rochdale::@service@
")
  set(output ${CMAKE_CURRENT_BINARY_DIR}/migrations.cc)
  rochdale_embed_migrations(${output} ${CMAKE_CURRENT_SOURCE_DIR}/migrations ${service}
                            rochdale::${service} ${header})
  add_library(rochdale_${service}_migrations STATIC ${output})
  target_include_directories(rochdale_${service}_migrations PUBLIC ${include})
  target_link_libraries(rochdale_${service}_migrations PUBLIC rochdale_options rochdale_pg)
endfunction()
